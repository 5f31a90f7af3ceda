"""What was built in a VM is kept there, by content: the same program again needs no compiler.  Pure.

The cache belongs to one VM and its user, on the VM's own disk; nothing of it is shared.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from vmpool.domain import Language

DIRECTORY = "/home/user/.cache/vmpool-build"
KEPT = 32
"""Programs kept, the newest ones."""

# KEY BUILT COMMAND...: BUILT is COMMAND's, or what it was last time.  The compiler decides where it finds
# settings of its own, where it is newer than what is kept, and where it had something to say.
_SCRIPT = f"""
kept={DIRECTORY}/$1 built=$2 above=$PWD
shift 2
[ -e ~/.config/go/env ] && exec "$@"
while :; do
  [ -e "$above/go.mod" ] || [ -e "$above/go.work" ] && exec "$@"
  [ "$above" ] || break
  above=${{above%/*}}
done
if [ -x "$kept" ] && [ "$kept" -nt "$(command -v "$1")" ]; then
  {{ ln "$kept" "$built" || cp "$kept" "$built"; }} 2>/dev/null && exit
fi
"$@" 2>"$built.says"
status=$?
[ -s "$built.says" ] && cat "$built.says" >&2 && exit $status
[ $status = 0 ] || exit $status
{{
  mkdir -p {DIRECTORY} && cd {DIRECTORY} || exit 0
  ln -f "$built" "$kept" || {{ cp "$built" "$kept.$$" && mv -f "$kept.$$" "$kept"; }}
  ls -t | tail -n +{KEPT + 1} | xargs -r rm -f
}} >/dev/null 2>&1
exit 0
"""


def _directs(variable: str) -> bool:
    """Whether a compiler is told by it to do otherwise: Go's, and where GCC looks for what it includes."""
    return variable.startswith("GO") or (variable.endswith(("_PATH", "CPATH")) and variable != "PATH")


def cached_build(
    language: Language, code: str, build: tuple[str, ...], scratch: str, env: Mapping[str, str]
) -> tuple[str, ...]:
    """The build's argument vector, made to look for what the same source, arguments and environment built.

    A source that takes in other files is left to the compiler, and so is an environment that directs it.
    """
    takes_in = language.takes_in
    if not build or takes_in is None or re.search(takes_in, code) or any(map(_directs, env)):
        return build
    words = [word.replace(scratch, "{scratch}") for word in build]
    content = json.dumps([code, words, sorted(env.items())]).encode("ascii")
    key = hashlib.sha256(content).hexdigest()
    return ("/bin/sh", "-c", _SCRIPT, "build", key, f"{scratch}/main", *build)
