DROP TABLE audit;
DROP TABLE batch;
DROP TABLE dictionary;
DROP TABLE schema;
DROP TABLE stream;
DROP TABLE token;
DROP TABLE agent;
