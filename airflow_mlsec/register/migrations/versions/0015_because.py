"""Why a place of a request is in its state, where something depends on it, as a word of its own and not in a sentence."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# How the sentences of earlier versions began, or what stood in them.
_SENTENCES = (
    ("legal hold", "legal hold %"),
    ("duty to keep", "kept by law: %"),
    ("only mentions", "rows that mention the person are kept by the policy: %"),
    ("not removed", "% rows were found, and none of them could be removed"),
    ("waits", "waits for %, whose rows can only be found through this place"),
    ("not rectified", "could not be rectified%"),
    ("to be made anew", "made from column %"),
    ("still named", "% rows still name the person (%"),
)


def upgrade() -> None:
    with op.batch_alter_table("mlsec_request_step") as table:
        table.add_column(sa.Column("because", sa.String(32)))
        table.add_column(sa.Column("free_text", sa.Boolean))
    step = sa.table(
        "mlsec_request_step",
        sa.column("detail", sa.Text),
        sa.column("locator", sa.Text),
        sa.column("because", sa.String),
        sa.column("free_text", sa.Boolean),
    )
    connection = op.get_bind()
    for word, sentence in _SENTENCES:
        mine = sa.update(step).where(step.c.because.is_(None), step.c.detail.like(sentence))
        connection.execute(mine.values(because=word))
    named = step.c.locator.like("%free text%")
    connection.execute(sa.update(step).where(named).values(free_text=True))
