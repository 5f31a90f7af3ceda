"""Spread a list of checks over several VMs with the synchronous client, and end like a test runner."""

from concurrent.futures import ThreadPoolExecutor

from vmpool import Client, Execution, VMHandle

CHECKS = {f"{n} squared": f"assert {n} ** 2 == {n * n}" for n in range(20)}
VMS = 4


def main() -> int:
    with Client() as client:
        vms = [client.create_vm(f"tests-{number}", "python") for number in range(VMS)]
        try:
            with ThreadPoolExecutor(VMS * 2) as threads:
                jobs = [
                    threads.submit(run, vms[number % VMS], name, code)
                    for number, (name, code) in enumerate(CHECKS.items())
                ]
            results = [job.result() for job in jobs]
        finally:
            for vm in vms:
                vm.delete()
    passed = sum(result.ok for _, result in results)
    print(f"{passed} of {len(results)} passed")
    return int(passed != len(results))


def run(vm: VMHandle, name: str, code: str) -> tuple[str, Execution]:
    result = vm.execute(code, timeout=30)
    print(f"{'ok  ' if result.ok else 'FAIL'} {name} (VM {vm.id})")
    return name, result


raise SystemExit(main())
