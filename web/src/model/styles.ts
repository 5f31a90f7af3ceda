/** For a library that writes styles into the page, which the page's policy refuses. */

let done = false;

/** From now on styles that scripts write are kept where the policy admits them, since only this site's scripts
 * can reach those places: in constructed style sheets, and in the elements' own style objects. */
export function keepStylesInSheets(): void {
  if (done) return;
  done = true;
  /* eslint-disable @typescript-eslint/no-deprecated -- a replacement has to take every tag, old ones too */
  const create = document.createElement.bind(document);
  document.createElement = (tag: string, options?: ElementCreationOptions): HTMLElement =>
    tag === "style" ? writtenToSheet(create("template")) : create(tag, options);
  /* eslint-enable @typescript-eslint/no-deprecated */
  HTMLSpanElement.prototype.setAttribute = function (name, value) {
    if (name === "style") this.style.cssText = value;
    else Element.prototype.setAttribute.call(this, name, value);
  };
}

/** The element, which shows nothing, as a place to write a sheet's text to. */
function writtenToSheet(element: HTMLElement): HTMLElement {
  const sheet = new CSSStyleSheet();
  let text = "";
  document.adoptedStyleSheets.push(sheet);
  Object.defineProperty(element, "textContent", {
    get: () => text,
    set: (value: string) => {
      text = value;
      sheet.replaceSync(value);
    },
  });
  const remove = element.remove.bind(element);
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((each) => each !== sheet);
    remove();
  };
  return element;
}
