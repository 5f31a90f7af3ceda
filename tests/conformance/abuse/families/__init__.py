"""All abuse programs and traps, family by family, in the order of the table in docs/security.md."""

from tests.conformance.abuse.families.agent import AGENT
from tests.conformance.abuse.families.descriptors import DESCRIPTORS
from tests.conformance.abuse.families.disk import DISK
from tests.conformance.abuse.families.host import HOST
from tests.conformance.abuse.families.kernel import KERNEL
from tests.conformance.abuse.families.memory import MEMORY
from tests.conformance.abuse.families.namespaces import NAMESPACES
from tests.conformance.abuse.families.network import NETWORK
from tests.conformance.abuse.families.output import OUTPUT
from tests.conformance.abuse.families.privilege import PRIVILEGE
from tests.conformance.abuse.families.processes import PROCESSES
from tests.conformance.abuse.families.terminals import TERMINALS
from tests.conformance.abuse.families.traps import TRAPS
from tests.conformance.abuse.table import Abuse

FAMILIES = (
    PROCESSES,
    AGENT,
    MEMORY,
    DISK,
    DESCRIPTORS,
    TERMINALS,
    OUTPUT,
    PRIVILEGE,
    NAMESPACES,
    KERNEL,
    HOST,
    NETWORK,
    TRAPS,
)
ENTRIES = tuple(entry for family in FAMILIES for entry in family.programs)
PROGRAMS = tuple(entry for entry in ENTRIES if isinstance(entry, Abuse))
