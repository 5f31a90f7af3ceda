"""Builds of templates, and what is kept after their steps"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

BUILDING = sa.text("state = 'building'")


def upgrade() -> None:
    op.create_table(
        "template_builds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("base", sa.String(), nullable=False),
        sa.Column("language", sa.String()),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("replace", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("failure", sa.Text()),
        sa.Column("template_id", sa.Integer()),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime()),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_template_builds_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_template_builds"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_template_builds_user_id_id", "template_builds", ["user_id", "id"])
    op.create_index(
        "ix_template_builds_building",
        "template_builds",
        ["id"],
        sqlite_where=BUILDING,
        postgresql_where=BUILDING,
    )
    op.create_table(
        "template_layers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("snapshot_id", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_template_layers_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_template_layers"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_template_layers_user_id_digest", "template_layers", ["user_id", "digest"], unique=True
    )
    op.create_index("ix_template_layers_snapshot_id", "template_layers", ["snapshot_id"])
    op.add_column("templates", sa.Column("build_id", sa.Integer()))
    op.add_column("virtual_machines", sa.Column("build_id", sa.Integer()))


def downgrade() -> None:
    op.drop_column("virtual_machines", "build_id")
    op.drop_column("templates", "build_id")
    op.drop_table("template_layers")
    op.drop_table("template_builds")
