"""Executions with a terminal, and how long one goes on that nobody reads"""

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


def downgrade() -> None:
    op.drop_column("vm_executions", "linger")
    op.drop_column("vm_executions", "terminal")
