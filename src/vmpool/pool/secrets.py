"""Secrets: encrypted in the database, given to executions by name, hidden in what VMs write."""

from __future__ import annotations

import base64
import logging
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from anyio import to_thread
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vmpool.domain import VM
from vmpool.domain.secret import MAX_HOSTS, NAME, SENDABLE, Mask, Secret, problem_of_value
from vmpool.errors import InvalidRequest, SecretNotFound
from vmpool.network.destinations import Destination
from vmpool.network.rules import Rule, parse_rules
from vmpool.store.secrets import Secrets as Rows
from vmpool.store.statedir import write_private

logger = logging.getLogger(__name__)

KEY_BYTES = 32
NONCE_BYTES = 12


class Secrets:
    """One pool's.  Values are in memory while the server runs: whoever reads that reads the key as well."""

    def __init__(self, rows: Rows, key: bytes) -> None:
        self._rows = rows
        self._cipher = AESGCM(key)
        self.values: dict[int, dict[tuple[int | None, str], str]] = {}
        """By user; by VM, None for all of them, and name."""
        self._rules: dict[tuple[int, int | None, str], tuple[Rule, ...]] = {}
        self._masks: dict[tuple[int, int], Mask] = {}

    @classmethod
    async def open(cls, rows: Rows, path: Path) -> Self:
        """Those of this database, with the key in this file, which is made where there is none.

        Values that another key has encrypted, those of a database without its key file, are left out.
        """
        found = cls(rows, await to_thread.run_sync(_key_in, path))
        for secret, sealed in await rows.all():
            try:
                found._keep(secret, found._opened(secret, sealed))
            except InvalidTag:
                logger.warning(
                    "secret %s of user %s has another key; set it again", secret.id, secret.user_id
                )
        return found

    async def set(
        self, user_id: int, vm: VM | None, name: str, value: str, hosts: Sequence[str] = ()
    ) -> Secret:
        """Keep a value under this name; InvalidRequest, TooManySecrets.  vm: for this one only.

        hosts: it is never given to executions, but put into requests to these.
        """
        if NAME.fullmatch(name) is None:
            raise InvalidRequest("name", "must be a variable's: letters, digits and _, at most 64")
        problem = problem_of_value(value)
        if problem is not None:
            raise InvalidRequest("value", problem)
        rules = _rules(hosts)
        if rules and SENDABLE.fullmatch(value) is None:
            raise InvalidRequest("value", "must be one line of printable ASCII to be put into headers")
        vm_id = None if vm is None else vm.id
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, value.encode(), _bound(user_id, vm_id, name, hosts))
        text = base64.b64encode(sealed).decode()
        secret = await self._rows.set(user_id, vm_id, name, text, tuple(hosts))
        self._keep(secret, value)
        return secret

    async def list(self, user_id: int) -> list[Secret]:
        """The user's, without their values."""
        return await self._rows.list(user_id)

    async def delete(self, user_id: int, vm: VM | None, name: str) -> None:
        """Forget it; SecretNotFound.  What is running keeps it."""
        vm_id = None if vm is None else vm.id
        await self._rows.delete(user_id, vm_id, name)
        self.values.get(user_id, {}).pop((vm_id, name), None)
        self._rules.pop((user_id, vm_id, name), None)
        self._forget_masks(user_id)

    async def forget_vm(self, vm: VM) -> None:
        """The VM is deleted, and its own secrets with it."""
        own = [key for key in self.values.get(vm.user_id, ()) if key[0] == vm.id]
        if own:
            await self._rows.forget_vm(vm.id)
            for key in own:
                del self.values[vm.user_id][key]
                self._rules.pop((vm.user_id, *key), None)
            self._forget_masks(vm.user_id)

    def variables(self, vm: VM, names: Iterable[str]) -> dict[str, str]:
        """These secrets as variables for an execution in this VM, whose own come first; SecretNotFound."""
        values = self.values.get(vm.user_id, {})
        found = {}
        for name in names:
            value = values.get((vm.id, name), values.get((None, name)))
            if value is None:
                raise SecretNotFound(name)
            at = vm.id if (vm.id, name) in values else None
            if (vm.user_id, at, name) in self._rules:
                raise InvalidRequest(
                    "secrets", f"'{name}' is for its hosts: write {{{{{name}}}}} in a header"
                )
            found[name] = value
        return found

    def sent(self, user_id: int, vm_id: int, to: Destination) -> dict[bytes, bytes]:
        """What requests of this VM to a destination may be given: name → value."""
        found = {}
        for (of_vm, name), value in self.values.get(user_id, {}).items():
            if of_vm not in (None, vm_id) or (of_vm is None and (vm_id, name) in self.values[user_id]):
                continue
            if any(rule.covers_name(to) for rule in self._rules.get((user_id, of_vm, name), ())):
                found[name.encode()] = value.encode()
        return found

    def mask(self, vm: VM) -> Mask | None:
        """What hides every secret an execution in this VM may have; None where there is none.

        All that apply, not only those given to this execution: an earlier one may have left them in a file.
        """
        if vm.user_id not in self.values:
            return None
        key = vm.user_id, vm.id
        mask = self._masks.get(key)
        if mask is None:
            values = self.values[vm.user_id]
            mask = Mask(value for (of_vm, _), value in values.items() if of_vm in (None, vm.id))
            self._masks[key] = mask
        return mask or None

    def _keep(self, secret: Secret, value: str) -> None:
        self.values.setdefault(secret.user_id, {})[secret.vm_id, secret.name] = value
        key = secret.user_id, secret.vm_id, secret.name
        self._rules.pop(key, None)
        if secret.hosts:
            self._rules[key] = _rules(secret.hosts)
        self._forget_masks(secret.user_id)

    def _forget_masks(self, user_id: int) -> None:
        for key in [key for key in self._masks if key[0] == user_id]:
            del self._masks[key]

    def _opened(self, secret: Secret, sealed: str) -> str:
        raw = base64.b64decode(sealed)
        bound = _bound(secret.user_id, secret.vm_id, secret.name, secret.hosts)
        return self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], bound).decode()


def _bound(user_id: int, vm_id: int | None, name: str, hosts: Sequence[str]) -> bytes:
    """What a value is bound to, so that a row that is moved to somebody else, or elsewhere, opens nothing."""
    return " ".join(("secret", str(user_id), str(vm_id or 0), name, *hosts)).encode()


def _rules(hosts: Sequence[str]) -> tuple[Rule, ...]:
    """What a secret is for, parsed; InvalidRequest for what is no single host."""
    if len(hosts) > MAX_HOSTS:
        raise InvalidRequest("hosts", f"are more than {MAX_HOSTS}")
    rules = parse_rules("hosts", hosts)
    for place, rule in enumerate(rules):
        if rule.name is None and not (rule.network is not None and rule.network.num_addresses == 1):
            raise InvalidRequest(
                f"hosts.{place}", f"'{rule.text[:80]}' must be one host, with :port or without"
            )
    return rules


def _key_in(path: Path) -> bytes:
    try:
        return bytes.fromhex(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        key = secrets.token_bytes(KEY_BYTES)
        write_private(path, key.hex())
        return key
