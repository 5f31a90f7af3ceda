"""Idempotency keys: how long the kept answer is, and a user's keys in order of age"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Of keys that are there already the size counts as nothing: they go within a day.
    op.add_column(
        "idempotency_keys", sa.Column("stored_bytes", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.create_index(
        "ix_idempotency_keys_user_id_created_at",
        "idempotency_keys",
        ["user_id", "created_at", "key", "stored_bytes"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index("ix_idempotency_keys_user_id_created_at", "idempotency_keys")
    op.drop_column("idempotency_keys", "stored_bytes")
