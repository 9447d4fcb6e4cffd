"""The keeper, on a real server: what it deletes, what it leaves, and that one of several acts."""



