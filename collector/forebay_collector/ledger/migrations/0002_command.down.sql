DROP TABLE command_part;
DROP TABLE command;
