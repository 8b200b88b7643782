"""The tables. `migrations/` holds how a database gets from one version of them to the next."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

HEAD = "0002"
"""The newest revision in `migrations/versions`."""

metadata = MetaData()

objects = Table(
    "objects",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("reference", Text, unique=True, nullable=False),
)

searches = Table(
    "searches",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("task_id", ForeignKey("tasks.id"), index=True, nullable=False),
    Column("task_hash", String(64)),
    Column("platform", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("synthesizer", Text, nullable=False),
    Column("brief_object", String(64)),
    Column("state", String(16), nullable=False),
    Column("reason", String(32)),
    Column("made", String(40), nullable=False),
    Column("finished", String(40)),
    Column("resumed_at", Float, nullable=False),
    # What follows sums up the other tables. It changes in the same transaction as they do, so that a step reads one row
    # where it would have to read them all.
    Column("step", Integer, nullable=False, default=-1),
    Column("issued", Integer, nullable=False, default=0),
    Column("starts", Integer, nullable=False, default=0),
    Column("leader_id", String(48)),
    Column("leader_score", Float, nullable=False, default=0.0),
    Column("stalled", Integer, nullable=False, default=0),
    Column("anchor_ms", Float),
    Column("start_score", Float),
    Column("harness_errors", Integer, nullable=False, default=0),
    Column("author_failures", Integer, nullable=False, default=0),
    Column("input_tokens", Integer, nullable=False, default=0),
    Column("output_tokens", Integer, nullable=False, default=0),
    Column("usd", Float, nullable=False, default=0.0),
    Column("owner", Text, nullable=False, server_default=text("''")),
    Column("shared", Boolean, nullable=False, server_default=false()),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("search_id", ForeignKey("searches.id"), nullable=False),
    Column("step", Integer, nullable=False),
    Column("order_id", String(48)),
    Column("parent_id", String(48)),
    Column("more_parents", Text, nullable=False, default=""),
    Column("mutation", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("source_hash", String(64), nullable=False),
    Column("source_object", String(64), nullable=False),
    Column("verdict_object", String(64), nullable=False),
    Column("confirmation_object", String(64)),
    Column("status", String(24), nullable=False),
    Column("signature", String(96)),
    Column("fitness", Text, nullable=False),
    Column("confirmed", Text),
    Column("refuted", Boolean, nullable=False, default=False),
    Column("latency_ms", Float),
    Column("roofline_share", Float),
    Column("judged_s", Float, nullable=False),
    Column("author", Text, nullable=False, default=""),
    Column("made", String(40), nullable=False),
    Column("depth", Integer, nullable=False),
    # By all that is known: `Node.viable` and `Node.score`.
    Column("viable", Boolean, nullable=False),
    Column("score", Float, nullable=False),
    Column("low", Float, nullable=False),
    # What policies keep count of.
    Column("children", Integer, nullable=False, default=0),
    Column("visits", Integer, nullable=False, default=0),
    Column("reward", Float, nullable=False, default=0.0),
    Column("island", Integer, nullable=False, default=0),
    Column("cell", String(64)),
    Column("embedding", LargeBinary),
    Column("exhausted", Boolean, nullable=False, default=False),
    UniqueConstraint("search_id", "step"),
    UniqueConstraint("search_id", "source_hash"),
)
Index("nodes_ranked", nodes.c.search_id, nodes.c.viable, nodes.c.exhausted, nodes.c.score.desc(), nodes.c.step)
Index("nodes_of_parent", nodes.c.parent_id, nodes.c.viable, nodes.c.score.desc(), nodes.c.step)
Index("nodes_of_signature", nodes.c.search_id, nodes.c.signature)

edges = Table(
    "edges",
    metadata,
    Column("child_id", ForeignKey("nodes.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("parent_id", ForeignKey("nodes.id"), index=True, nullable=False),
    Column("transformation", Text, nullable=False),
)

orders = Table(
    "orders",
    metadata,
    Column("id", String(48), primary_key=True),
    Column("search_id", ForeignKey("searches.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("phase", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("parents", Text, nullable=False),
    Column("memory", String(16), nullable=False),
    Column("island", Integer, nullable=False, default=0),
    Column("along_path", Boolean, nullable=False, default=False),
    Column("note", Text, nullable=False, default=""),
    Column("holder", Text, nullable=False, default=""),
    Column("issued", String(40), nullable=False),
    Column("expires", Float, nullable=False),
    Column("language", Text),
    Column("name", Text),
    Column("source_object", String(64)),
    Column("source_hash", String(64)),
    Column("prompt_object", String(64)),
    Column("node_id", String(48)),
    Column("reason", Text, nullable=False, default=""),
    UniqueConstraint("search_id", "number"),
)
Index("orders_by_state", orders.c.search_id, orders.c.state, orders.c.expires)
Index("orders_by_source", orders.c.search_id, orders.c.source_hash)

setbacks = Table(
    "setbacks",
    metadata,
    Column("search_id", ForeignKey("searches.id"), primary_key=True),
    Column("mutation", Text, primary_key=True),
    Column("count", Integer, nullable=False),
)

elites = Table(
    "elites",
    metadata,
    Column("search_id", ForeignKey("searches.id"), primary_key=True),
    Column("island", Integer, primary_key=True),
    Column("cell", String(64), primary_key=True),
    Column("node_id", ForeignKey("nodes.id"), nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("search_id", ForeignKey("searches.id"), nullable=False),
    Column("step", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("made", String(40), nullable=False),
)
Index("events_of_search", events.c.search_id, events.c.id)
