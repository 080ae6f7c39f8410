"""What Tamis is measured against: servers others would write, written as well as they would."""
