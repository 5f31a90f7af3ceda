"""Create a VM, run code in it, delete it: the specification's first example."""

import asyncio

from vmpool import create_vm, delete_vm, execute_in_vm


async def main() -> None:
    # Create VM
    vm = await create_vm(name="test-vm", language="python", cpu_limit=1.0, memory_limit=512)

    # Execute code
    result = await execute_in_vm(vm_id=vm.id, code="print('Hello from VM!')")

    print(result.output)  # "Hello from VM!"

    await delete_vm(vm.id)


asyncio.run(main())
