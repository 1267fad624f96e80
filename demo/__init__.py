"""`make demo`: the main job on real people's records, in a real Airflow."""
