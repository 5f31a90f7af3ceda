"""Contexts: kernels that remember from one cell to the next"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "contexts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("vm_id", sa.Integer(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("cwd", sa.Text(), nullable=True),
        sa.Column("env", sa.JSON(), nullable=False),
        sa.Column("starts", sa.Integer(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["vm_id"], ["virtual_machines.id"], name="fk_contexts_vm_id"),
        sa.PrimaryKeyConstraint("id", name="pk_contexts"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_contexts_vm_id_id", "contexts", ["vm_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_table("contexts")
