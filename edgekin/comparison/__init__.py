"""Every model beside the others under one protocol: what is trained, what is measured, and what it is held against."""
