/** A VM's files: looked through, downloaded, uploaded, deleted. */
import { useEffect, useState } from "preact/hooks";
import { ask, askAll, askBytes } from "../api/client";
import type { FileInfo, VM } from "../api/types";
import { bytes } from "../model/format";
import { HOME, above, entered } from "../model/paths";
import { Dialog, Trouble } from "./parts";

/** Bytes of the largest file whose text is shown. */
const SHOWN = 256 * 1024;

export function Files({ vm, writes }: { vm: VM; writes: boolean }) {
  // percent-encoded, as the server has it: names may be any bytes
  const [folder, setFolder] = useState(HOME);
  const [found, setFound] = useState<readonly FileInfo[] | null>(null);
  const [looks, setLooks] = useState(0);
  const [text, setText] = useState<{ name: string; text: string } | null>(null);
  const [removing, setRemoving] = useState<FileInfo | null>(null);
  const [error, setError] = useState<unknown>(null);
  const path = `/api/vms/${vm.id}/files`;

  useEffect(() => {
    let current = true;
    askAll<FileInfo>(`${path}/list?limit=1000&path=${folder}`).then(
      (files) => {
        if (!current) return;
        setFound(files);
        setError(null);
      },
      (failure: unknown) => current && setError(failure),
    );
    return () => {
      current = false;
    };
  }, [path, folder, looks, vm.status]);

  async function act(doing: () => Promise<void>): Promise<void> {
    setError(null);
    try {
      await doing();
    } catch (failure) {
      setError(failure);
    }
  }

  async function open(file: FileInfo): Promise<void> {
    const blob = await askBytes(`${path}?path=${entered(folder, file.encoded_name)}`);
    if (blob.size <= SHOWN) setText({ name: file.name, text: await blob.text() });
    else save(blob, file.name);
  }

  async function upload(files: FileList): Promise<void> {
    for (const file of files) {
      const to = entered(folder, encodeURIComponent(file.name));
      await ask<FileInfo>("PUT", `${path}?path=${to}`, { body: file });
    }
    setLooks((before) => before + 1);
  }

  return (
    <section aria-label="Files" class="stack">
      <div class="title">
        <h2 class="path">{decoded(folder)}</h2>
        <div class="actions">
          <button disabled={folder === "/"} onClick={() => setFolder(above(folder))}>
            Up
          </button>
          <button onClick={() => setLooks((before) => before + 1)}>Look again</button>
          {writes && (
            <label class="button">
              Upload
              <input
                type="file"
                multiple
                class="unseen"
                onChange={(event) => {
                  const { files } = event.currentTarget;
                  if (files) void act(() => upload(files));
                }}
              />
            </label>
          )}
        </div>
      </div>
      <Trouble error={error} />
      {found?.length === 0 && (
        <p class="note">Nothing is in this directory. What your code writes here, or you upload, shows here.</p>
      )}
      {found !== null && found.length > 0 && (
        <ul class="vms" aria-label="Files">
          {found.map((file) => (
            <li class="vm" key={file.encoded_name}>
              <div class="who">
                {file.kind === "directory" ? (
                  <button class="link" onClick={() => setFolder(entered(folder, file.encoded_name))}>
                    {file.name}/
                  </button>
                ) : (
                  <button class="link" onClick={() => void act(() => open(file))}>
                    {file.name}
                  </button>
                )}
              </div>
              <p class="facts">
                {file.kind === "file" ? bytes(file.size) : file.kind}
                {file.target !== null && ` to ${file.target}`} · {file.mode}
              </p>
              <div class="actions">
                {file.kind === "file" && (
                  <button
                    aria-label={`Download ${file.name}`}
                    onClick={() =>
                      void act(async () =>
                        save(await askBytes(`${path}?path=${entered(folder, file.encoded_name)}`), file.name),
                      )
                    }
                  >
                    Download
                  </button>
                )}
                {writes && (
                  <button class="danger" aria-label={`Delete ${file.name}`} onClick={() => setRemoving(file)}>
                    Delete
                  </button>
                )}
              </div>
            </li>
          ))}
        </ul>
      )}
      {text !== null && (
        <Dialog title={text.name} close={() => setText(null)}>
          <pre class="output" tabIndex={0} aria-label={`Text of ${text.name}`}>
            {text.text}
          </pre>
          <div class="actions">
            <button onClick={() => setText(null)}>Close</button>
          </div>
        </Dialog>
      )}
      {removing !== null && (
        <Dialog title={`Delete ${removing.name}?`} close={() => setRemoving(null)}>
          <p>
            {removing.kind === "directory" ? "It is gone with all that is in it" : "It is gone"}, unless a snapshot
            has it.
          </p>
          <div class="actions">
            <button autofocus onClick={() => setRemoving(null)}>
              Keep it
            </button>
            <button
              class="danger solid"
              onClick={() =>
                void act(async () => {
                  const query = `path=${entered(folder, removing.encoded_name)}&recursive=true`;
                  setRemoving(null);
                  await ask<undefined>("DELETE", `${path}?${query}`);
                  setLooks((before) => before + 1);
                })
              }
            >
              Delete
            </button>
          </div>
        </Dialog>
      )}
    </section>
  );
}

/** Give it to the browser to be kept. */
function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path; // no text: shown as it is encoded
  }
}
