"""Which scope each operation needs, by its id in the OpenAPI document.

An operation that is not listed here answers nobody: `vmpool.api.auth` looks every one up, and a test compares
this table with the document.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vmpool.domain import Scope

NEEDED: Mapping[str, Scope] = MappingProxyType(
    {
        "list_vms": Scope.READ,
        "get_vm": Scope.READ,
        "vm_status": Scope.READ,
        "vm_logs": Scope.READ,
        "pool_status": Scope.READ,
        "list_executions": Scope.READ,
        "get_execution": Scope.READ,
        "get_output": Scope.READ,
        "wait_for_execution": Scope.READ,
        "stream_execution": Scope.READ,
        "list_snapshots": Scope.READ,
        "get_snapshot": Scope.READ,
        "export_snapshot": Scope.READ,
        "get_network": Scope.READ,
        "network_log": Scope.READ,
        "list_events": Scope.READ,
        "create_session": Scope.READ,  # it may do what its key may
        "get_session": Scope.READ,
        "delete_session": Scope.READ,
        "list_templates": Scope.READ,
        "get_template": Scope.READ,
        "list_builds": Scope.READ,
        "get_build": Scope.READ,
        "build_log": Scope.READ,
        "list_secrets": Scope.READ,
        "list_webhooks": Scope.READ,
        "get_webhook": Scope.READ,
        "list_deliveries": Scope.READ,
        "list_keys": Scope.READ,
        "metrics": Scope.READ,  # of an administrator: what scrapes them need not be able to do more
        "read_file": Scope.READ,
        "stat_file": Scope.READ,
        "list_files": Scope.READ,
        "watch_files": Scope.READ,
        "download_tree": Scope.READ,
        "list_contexts": Scope.READ,
        "get_context": Scope.READ,
        "execute": Scope.EXECUTE,
        "batch_execute": Scope.EXECUTE,
        "cancel_execution": Scope.EXECUTE,
        "signal_execution": Scope.EXECUTE,
        "write_stdin": Scope.EXECUTE,
        "create_context": Scope.EXECUTE,
        "delete_context": Scope.EXECUTE,
        "run_cell": Scope.EXECUTE,
        "interrupt_context": Scope.EXECUTE,
        "restart_context": Scope.EXECUTE,
        "resize_terminal": Scope.EXECUTE,
        "write_file": Scope.EXECUTE,  # whoever runs code in a VM can do all of this in it
        "change_file": Scope.EXECUTE,
        "remove_file": Scope.EXECUTE,
        "make_directory": Scope.EXECUTE,
        "move_file": Scope.EXECUTE,
        "upload_tree": Scope.EXECUTE,
        "get_port": Scope.EXECUTE,  # whatever listens there: it may do more than be looked at
        "post_port": Scope.EXECUTE,
        "put_port": Scope.EXECUTE,
        "patch_port": Scope.EXECUTE,
        "delete_port": Scope.EXECUTE,
        "options_port": Scope.EXECUTE,
        "open_tunnel": Scope.EXECUTE,
        "create_vm": Scope.MANAGE,
        "change_limits": Scope.MANAGE,
        "delete_vm": Scope.MANAGE,
        "start_vm": Scope.MANAGE,
        "stop_vm": Scope.MANAGE,
        "restart_vm": Scope.MANAGE,
        "pause_vm": Scope.MANAGE,
        "resume_vm": Scope.MANAGE,
        "create_snapshot": Scope.MANAGE,
        "delete_snapshot": Scope.MANAGE,
        "import_snapshot": Scope.MANAGE,
        "restore_vm": Scope.MANAGE,
        "fork_vm": Scope.MANAGE,
        "create_template": Scope.MANAGE,
        "change_template": Scope.MANAGE,
        "delete_template": Scope.MANAGE,
        "cancel_build": Scope.MANAGE,
        "set_network": Scope.MANAGE,
        "share_port": Scope.MANAGE,
        "revoke_shares": Scope.MANAGE,
        "set_secret": Scope.MANAGE,
        "delete_secret": Scope.MANAGE,
        "create_webhook": Scope.MANAGE,
        "update_webhook": Scope.MANAGE,
        "delete_webhook": Scope.MANAGE,
        "rotate_webhook": Scope.MANAGE,
        "test_webhook": Scope.MANAGE,
        "create_key": Scope.MANAGE,
        "revoke_key": Scope.MANAGE,
        "rotate_key": Scope.MANAGE,
        "create_user": Scope.ADMIN,
        "list_users": Scope.ADMIN,
        "get_user": Scope.ADMIN,
        "update_user": Scope.ADMIN,
        "create_user_key": Scope.ADMIN,
        "list_user_keys": Scope.ADMIN,
        "revoke_user_key": Scope.ADMIN,
        "list_all_vms": Scope.ADMIN,
        "list_use": Scope.ADMIN,
        "list_audit": Scope.ADMIN,
    }
)

AUDITED = frozenset({Scope.MANAGE, Scope.ADMIN})
"""Operations of these scopes are recorded in the audit log, and whatever was refused for want of a key or a
right.  What was executed is in the history of its VM, and looking changes nothing."""
