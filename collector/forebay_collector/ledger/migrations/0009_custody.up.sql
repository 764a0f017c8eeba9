-- Custody. brought_by: the agent that brought the batch, which a stream's present agent need not be. digest: over all columns
-- of the row (`batch_rows.py`), so that none changes unseen. completeness: certificates of completeness, as they were
-- issued (`certificates/`); day: YYYY-MM-DD, content: the file itself.
ALTER TABLE batch ADD COLUMN brought_by TEXT NOT NULL DEFAULT '';
ALTER TABLE batch ADD COLUMN digest {bytes} NOT NULL DEFAULT {empty};
UPDATE batch SET brought_by = (SELECT agent FROM stream WHERE stream.id = batch.stream_id);

CREATE TABLE completeness (
    id {serial},
    department TEXT NOT NULL,
    day TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    issued_by TEXT NOT NULL,
    tables BIGINT NOT NULL,
    statement TEXT NOT NULL,
    content {bytes} NOT NULL
);

CREATE INDEX completeness_of_department ON completeness (department, day, id);
