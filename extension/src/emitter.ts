/** Events without the editor: the pure modules tell of their changes by it, and the tests listen. */

export interface Subscription {
  dispose(): void;
}

/** Has the shape of `vscode.Event`, so that it may be given to whatever wants one. */
export type Event<T> = (listener: (value: T) => unknown) => Subscription;

export class Emitter<T> {
  private readonly listeners = new Set<(value: T) => unknown>();

  readonly event: Event<T> = (listener) => {
    const own = (value: T) => listener(value);
    this.listeners.add(own);
    return { dispose: () => this.listeners.delete(own) };
  };

  fire(value: T): void {
    for (const listener of [...this.listeners]) listener(value);
  }

  dispose(): void {
    this.listeners.clear();
  }
}
