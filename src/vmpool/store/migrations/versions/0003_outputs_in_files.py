"""How long each output was, and how much of it lies in a file"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WITH_FILE = sa.text("output_file > 0 OR error_file > 0")


def upgrade() -> None:
    for name in ("output_bytes", "error_bytes"):
        op.add_column("vm_executions", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    for name in ("output_file", "error_file"):
        op.add_column("vm_executions", sa.Column(name, sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_vm_executions_with_file",
        "vm_executions",
        ["vm_id", "id", "output_file", "error_file"],
        unique=False,
        sqlite_where=WITH_FILE,
        postgresql_where=WITH_FILE,
    )


def downgrade() -> None:
    op.drop_index("ix_vm_executions_with_file", "vm_executions")
    for name in ("error_file", "output_file", "error_bytes", "output_bytes"):
        op.drop_column("vm_executions", name)
