DROP TABLE verification;
