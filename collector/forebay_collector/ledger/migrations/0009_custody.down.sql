DROP TABLE completeness;
ALTER TABLE batch DROP COLUMN digest;
ALTER TABLE batch DROP COLUMN brought_by;
