"""From a file or folder of rows to a table: csv, tsv, json lines, parquet."""
