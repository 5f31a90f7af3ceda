"""Executions with a terminal, how long one goes on that nobody reads, and builds that failed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "vm_executions", sa.Column("terminal", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("vm_executions", sa.Column("linger", sa.Float()))
    op.add_column(
        "vm_executions", sa.Column("build_failed", sa.Boolean(), nullable=False, server_default=sa.false())
    )


def downgrade() -> None:
    op.drop_column("vm_executions", "build_failed")
    op.drop_column("vm_executions", "linger")
    op.drop_column("vm_executions", "terminal")
