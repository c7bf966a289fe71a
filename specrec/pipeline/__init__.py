"""The edge of the job: each stage reads tables, calls pure transforms, and commits what they return."""
