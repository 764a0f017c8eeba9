DROP TABLE alert_lease;
DROP TABLE maintenance;
DROP TABLE notification_alert;
DROP TABLE notification;
DROP TABLE alert;
