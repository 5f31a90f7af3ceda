"""VMs that are paused when nobody uses them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("virtual_machines", sa.Column("idle_pause", sa.Integer()))


def downgrade() -> None:
    op.drop_column("virtual_machines", "idle_pause")
