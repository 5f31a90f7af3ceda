"""Run the same code in several VMs at once: the specification's second example."""

import asyncio

from vmpool import batch_execute, create_vm, delete_vm


async def main() -> None:
    vm1, vm2, vm3 = await asyncio.gather(*(create_vm(f"batch-{number}", "python") for number in (1, 2, 3)))

    # Execute in all VMs
    results = await batch_execute(code="import sys; print(sys.version)", vm_ids=[vm1.id, vm2.id, vm3.id])

    for result in results:
        print(f"VM {result.vm_id}: {result.output}")

    await asyncio.gather(*(delete_vm(vm.id) for vm in (vm1, vm2, vm3)))


asyncio.run(main())
