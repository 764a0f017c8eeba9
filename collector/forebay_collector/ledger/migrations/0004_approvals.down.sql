DROP TABLE certificate;
DROP TABLE approval_revision;
DROP TABLE approval_state;
DROP TABLE approval;
DROP TABLE proposal;
