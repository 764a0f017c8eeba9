DROP TABLE repair;
DROP TABLE coverage;
DROP TABLE platform_digest;
