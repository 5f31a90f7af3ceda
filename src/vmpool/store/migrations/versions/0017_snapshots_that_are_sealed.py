"""What a snapshot is compared with, and the one it came after"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("snapshots", sa.Column("seal", sa.String()))
    op.add_column("snapshots", sa.Column("parent_id", sa.BigInteger()))
    op.add_column("snapshots", sa.Column("generation", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("snapshots", "generation")
    op.drop_column("snapshots", "parent_id")
    op.drop_column("snapshots", "seal")
