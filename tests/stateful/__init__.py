"""The state machine of a VM against a model of it: the same model on every backend."""
