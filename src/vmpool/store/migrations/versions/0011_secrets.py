"""Secrets"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "secrets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("vm_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sealed", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_secrets_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_secrets"),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_secrets_user_id_vm_id_name", "secrets", ["user_id", "vm_id", "name"], unique=True)


def downgrade() -> None:
    op.drop_table("secrets")
