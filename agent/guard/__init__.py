"""The guard process: owns the protected actuators; verifies, judges, acts, reads back, observes, trips, latches."""
