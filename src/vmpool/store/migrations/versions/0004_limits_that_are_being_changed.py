"""The limits a VM is being given"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("virtual_machines", sa.Column("wanted_cpu_limit", sa.Float(), nullable=True))
    for name in ("wanted_memory_limit", "wanted_disk_limit", "wanted_process_limit"):
        op.add_column("virtual_machines", sa.Column(name, sa.Integer(), nullable=True))


def downgrade() -> None:
    for name in ("process", "disk", "memory", "cpu"):
        op.drop_column("virtual_machines", f"wanted_{name}_limit")
