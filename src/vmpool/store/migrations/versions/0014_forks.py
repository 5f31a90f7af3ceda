"""VMs that are copies of others"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("virtual_machines", sa.Column("forked_from", sa.Integer()))


def downgrade() -> None:
    op.drop_column("virtual_machines", "forked_from")
