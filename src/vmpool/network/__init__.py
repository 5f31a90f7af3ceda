"""The network broker: what a VM asks to reach is parsed, judged, dialled, carried, counted and logged here.

`addresses`, `rules`, `policy` and the parsers (`http`, `socks`) are pure; `resolver`, `dialling` and `relay`
act; `broker` is one VM's.  Nothing here knows of agents, rows or the API.
"""
