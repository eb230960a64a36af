"""Native processes on one machine, under supervisord: no Docker, no root needed, nothing installed by hand."""
