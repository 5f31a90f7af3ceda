"""VMs made before anybody asks: how many (`plan`), from what demand, and who keeps them (`keeper`)."""
