"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "objects",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("reference"),
    )
    op.create_table(
        "searches",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("task_hash", sa.String(length=64), nullable=True),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("synthesizer", sa.Text(), nullable=False),
        sa.Column("brief_object", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("made", sa.String(length=40), nullable=False),
        sa.Column("finished", sa.String(length=40), nullable=True),
        sa.Column("resumed_at", sa.Float(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("issued", sa.Integer(), nullable=False),
        sa.Column("starts", sa.Integer(), nullable=False),
        sa.Column("leader_id", sa.String(length=48), nullable=True),
        sa.Column("leader_score", sa.Float(), nullable=False),
        sa.Column("stalled", sa.Integer(), nullable=False),
        sa.Column("anchor_ms", sa.Float(), nullable=True),
        sa.Column("start_score", sa.Float(), nullable=True),
        sa.Column("harness_errors", sa.Integer(), nullable=False),
        sa.Column("author_failures", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("usd", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_searches_task_id", "searches", ["task_id"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("search_id", sa.String(length=32), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("made", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["search_id"],
            ["searches.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("events_of_search", "events", ["search_id", "id"], unique=False)
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("search_id", sa.String(length=32), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("order_id", sa.String(length=48), nullable=True),
        sa.Column("parent_id", sa.String(length=48), nullable=True),
        sa.Column("more_parents", sa.Text(), nullable=False),
        sa.Column("mutation", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source_hash", sa.String(length=64), nullable=False),
        sa.Column("source_object", sa.String(length=64), nullable=False),
        sa.Column("verdict_object", sa.String(length=64), nullable=False),
        sa.Column("confirmation_object", sa.String(length=64), nullable=True),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("signature", sa.String(length=96), nullable=True),
        sa.Column("fitness", sa.Text(), nullable=False),
        sa.Column("confirmed", sa.Text(), nullable=True),
        sa.Column("refuted", sa.Boolean(), nullable=False),
        sa.Column("latency_ms", sa.Float(), nullable=True),
        sa.Column("roofline_share", sa.Float(), nullable=True),
        sa.Column("judged_s", sa.Float(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("made", sa.String(length=40), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("viable", sa.Boolean(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("children", sa.Integer(), nullable=False),
        sa.Column("visits", sa.Integer(), nullable=False),
        sa.Column("reward", sa.Float(), nullable=False),
        sa.Column("island", sa.Integer(), nullable=False),
        sa.Column("cell", sa.String(length=64), nullable=True),
        sa.Column("embedding", sa.LargeBinary(), nullable=True),
        sa.Column("exhausted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["search_id"],
            ["searches.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("search_id", "source_hash"),
        sa.UniqueConstraint("search_id", "step"),
    )
    op.create_index(
        "nodes_of_parent", "nodes", ["parent_id", "viable", sa.literal_column("score DESC"), "step"], unique=False
    )
    op.create_index("nodes_of_signature", "nodes", ["search_id", "signature"], unique=False)
    op.create_index(
        "nodes_ranked",
        "nodes",
        ["search_id", "viable", "exhausted", sa.literal_column("score DESC"), "step"],
        unique=False,
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("search_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("parents", sa.Text(), nullable=False),
        sa.Column("memory", sa.String(length=16), nullable=False),
        sa.Column("island", sa.Integer(), nullable=False),
        sa.Column("along_path", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("issued", sa.String(length=40), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("source_object", sa.String(length=64), nullable=True),
        sa.Column("source_hash", sa.String(length=64), nullable=True),
        sa.Column("prompt_object", sa.String(length=64), nullable=True),
        sa.Column("node_id", sa.String(length=48), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["search_id"],
            ["searches.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("search_id", "number"),
    )
    op.create_index("orders_by_source", "orders", ["search_id", "source_hash"], unique=False)
    op.create_index("orders_by_state", "orders", ["search_id", "state", "expires"], unique=False)
    op.create_table(
        "setbacks",
        sa.Column("search_id", sa.String(length=32), nullable=False),
        sa.Column("mutation", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["search_id"],
            ["searches.id"],
        ),
        sa.PrimaryKeyConstraint("search_id", "mutation"),
    )
    op.create_table(
        "edges",
        sa.Column("child_id", sa.String(length=48), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.String(length=48), nullable=False),
        sa.Column("transformation", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["child_id"],
            ["nodes.id"],
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["nodes.id"],
        ),
        sa.PrimaryKeyConstraint("child_id", "position"),
    )
    op.create_index("ix_edges_parent_id", "edges", ["parent_id"], unique=False)
    op.create_table(
        "elites",
        sa.Column("search_id", sa.String(length=32), nullable=False),
        sa.Column("island", sa.Integer(), nullable=False),
        sa.Column("cell", sa.String(length=64), nullable=False),
        sa.Column("node_id", sa.String(length=48), nullable=False),
        sa.ForeignKeyConstraint(
            ["node_id"],
            ["nodes.id"],
        ),
        sa.ForeignKeyConstraint(
            ["search_id"],
            ["searches.id"],
        ),
        sa.PrimaryKeyConstraint("search_id", "island", "cell"),
    )
