"""Programs that do as little as anything of the kind can: what a ratio cannot get below."""
