"""The Django adapter, in this process and under real servers; `project` is the site they serve."""
