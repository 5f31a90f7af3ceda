"""Templates of users, and VMs made from them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "templates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("base", sa.String(), nullable=False),
        sa.Column("parent_id", sa.Integer()),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("backend", sa.String(), nullable=False),
        sa.Column("disk", sa.Integer(), nullable=False),
        sa.Column("vm_id", sa.Integer(), nullable=False),
        sa.Column("snapshot_id", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("shared", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_templates_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_templates"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_templates_user_id", "templates", ["user_id"])
    op.create_index("ix_templates_snapshot_id", "templates", ["snapshot_id"])
    for name, columns, unique, condition in (
        ("uq_templates_user_id_name", ["user_id", "name"], True, "state = 'ready'"),
        ("uq_templates_shared_name", ["name"], True, "shared"),
        ("ix_templates_unsettled", ["id"], False, "state <> 'ready'"),
    ):
        where = sa.text(condition)
        op.create_index(name, "templates", columns, unique=unique, sqlite_where=where, postgresql_where=where)
    op.add_column("virtual_machines", sa.Column("template_id", sa.Integer()))
    op.add_column("virtual_machines", sa.Column("made_from", sa.String()))


def downgrade() -> None:
    op.drop_column("virtual_machines", "made_from")
    op.drop_column("virtual_machines", "template_id")
    op.drop_table("templates")
