INSERT INTO touches (projection, touched) VALUES (%(projection)s, 1)
ON CONFLICT (projection) DO UPDATE SET touched = touches.touched + 1
