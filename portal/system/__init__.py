"""What every subject uses: settings, audit trail, job queue, leader election, disks, retention."""
