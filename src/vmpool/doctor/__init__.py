"""What this host can and cannot enforce, tried rather than guessed, and how to change it."""

from vmpool.doctor.examine import examine
from vmpool.doctor.report import Answer, Finding, Limit, Report, Way

__all__ = ["Answer", "Finding", "Limit", "Report", "Way", "examine"]
