/** For administrators: what each user takes of the pool, and who did what. */
import { useEffect, useState } from "preact/hooks";
import { askAll, askPage } from "../api/client";
import type { AuditEntry, Use } from "../api/types";
import { megabytes } from "../model/format";
import { Trouble } from "./parts";

const FIRST = "/api/audit?limit=50";

export function Administration() {
  const [users, setUsers] = useState<readonly Use[]>([]);
  const [entries, setEntries] = useState<readonly AuditEntry[]>([]);
  const [next, setNext] = useState<string | null>(null);
  const [error, setError] = useState<unknown>(null);

  async function more(path: string, before: readonly AuditEntry[]): Promise<void> {
    try {
      const page = await askPage<AuditEntry>(path);
      setEntries([...before, ...page.items]);
      setNext(page.next);
    } catch (failure) {
      setError(failure);
    }
  }

  useEffect(() => {
    askAll<Use>("/api/pool/users?limit=100").then(setUsers, setError);
    void more(FIRST, []);
  }, []);

  return (
    <main>
      <h1>Administration</h1>
      <Trouble error={error} />
      <h2>Users</h2>
      <div class="wide" tabIndex={0} role="region" aria-label="Users">
        <table>
          <thead>
            <tr>
              <th scope="col">User</th>
              <th scope="col">VMs</th>
              <th scope="col">Running</th>
              <th scope="col">CPU</th>
              <th scope="col">Memory</th>
              <th scope="col">Executions</th>
            </tr>
          </thead>
          <tbody>
            {users.map(({ user, vms, running, cpu, memory, executions }) => (
              <tr key={user.id}>
                <th scope="row">
                  {user.name}
                  {user.admin && " (administrator)"}
                  {user.disabled_at !== null && " (disabled)"}
                </th>
                <td>{vms}</td>
                <td>{running}</td>
                <td>{cpu}</td>
                <td>{megabytes(memory)}</td>
                <td>{executions}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div class="title">
        <h2>Audit log</h2>
        <button onClick={() => void more(FIRST, [])}>Look again</button>
      </div>
      <div class="wide" tabIndex={0} role="region" aria-label="Audit log">
        <table>
          <thead>
            <tr>
              <th scope="col">When</th>
              <th scope="col">Who</th>
              <th scope="col">What</th>
              <th scope="col">Of what</th>
              <th scope="col">Answer</th>
              <th scope="col">From</th>
            </tr>
          </thead>
          <tbody>
            {entries.map((entry) => (
              <tr key={entry.id}>
                <td>{new Date(entry.time).toLocaleString()}</td>
                <td>{entry.user ?? "nobody known"}</td>
                <td>{entry.action}</td>
                <td>{entry.target}</td>
                <td class={entry.status >= 400 ? "why" : ""}>{entry.status}</td>
                <td>{entry.address}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {next !== null && <button onClick={() => void more(next, entries)}>Older entries</button>}
    </main>
  );
}
