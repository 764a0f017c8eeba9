-- Custody: every batch's row carries a digest over all of its columns (`batch_rows.py`), so that none changes unseen.
ALTER TABLE batch ADD COLUMN digest {bytes} NOT NULL DEFAULT {empty};
