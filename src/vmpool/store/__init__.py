"""What is remembered: users, keys, VMs, executions, snapshots, in SQLite or PostgreSQL.

`async with open_store(url) as store:` gives the repositories `store.users`, `store.keys`, `store.vms`,
`store.executions`, `store.snapshots`, `store.templates`, `store.contexts`, `store.network`,
`store.idempotency`, `store.events`, `store.webhooks`, `store.secrets` and `store.audit`.  Each method is one
transaction and answers with values of `vmpool.domain`; no row and no session leaves the package.
"""

from vmpool.store.engine import Store, open_store, utcnow
from vmpool.store.executions import Retention
from vmpool.store.idempotency import Fresh, InProgress, Replay
from vmpool.store.vms import Facts

__all__ = ["Facts", "Fresh", "InProgress", "Replay", "Retention", "Store", "open_store", "utcnow"]
