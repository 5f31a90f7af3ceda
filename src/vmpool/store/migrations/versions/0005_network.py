"""The network: a VM's policy, the bytes it has used, and a log of what it reached"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "virtual_machines", sa.Column("network_policy", sa.JSON(), nullable=False, server_default="{}")
    )
    op.add_column(
        "virtual_machines", sa.Column("network_bytes", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.create_table(
        "network_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("vm_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("via", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("bytes_up", sa.BigInteger(), nullable=False),
        sa.Column("bytes_down", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["vm_id"], ["virtual_machines.id"], name="fk_network_log_vm_id"),
        sa.PrimaryKeyConstraint("id", name="pk_network_log"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_network_log_at", "network_log", ["at"], unique=False)
    op.create_index("ix_network_log_vm_id_id", "network_log", ["vm_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_table("network_log")
    op.drop_column("virtual_machines", "network_bytes")
    op.drop_column("virtual_machines", "network_policy")
